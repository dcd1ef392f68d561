"""Results as a person reads them: screens, plots, reports."""
