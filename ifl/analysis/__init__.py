"""Analyses run folders: metrics, tables, figures, studies and the report; no training code."""
