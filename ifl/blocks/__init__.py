"""Blocks as files: weights, a program and a card, which need no source of the network.

A receiver unpickles nothing: ``ifl.blocks.program`` runs the program itself, operator by operator,
after ``ifl.blocks.graph`` has checked it against a list of those that only compute.
"""
