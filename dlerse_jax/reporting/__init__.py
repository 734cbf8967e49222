"""The report: from run directories to one page, its figures and its tables."""
