"""Run folders, read: metrics, tables, figures, studies and the report; no training code."""
