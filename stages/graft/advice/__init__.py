"""Whether to use the model, why, and what to do next: rules on what was measured, written as reports/decision.json."""
