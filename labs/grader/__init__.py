"""The grader of the labs: see labs/README.md."""
