"""Lists of a backtest against what users chose afterwards: metrics, slices and thresholds."""
