"""What only the notebooks use: data, models, plots, measuring, and faults made on purpose."""
