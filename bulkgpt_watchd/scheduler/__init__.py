"""Decide what happens next, and write down what happened."""
