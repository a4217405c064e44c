"""What runs each case of a folder of reference figures through the pipeline's own code.

A module's ``RUNNERS`` maps the beginning of a case's id to a function of (case, fixtures) that
gives our results by figure name; the longest beginning that fits is taken.
"""
