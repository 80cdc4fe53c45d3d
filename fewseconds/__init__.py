"""The words that everything shares: scenario, plan, outcome, verdict; the command line on top."""
