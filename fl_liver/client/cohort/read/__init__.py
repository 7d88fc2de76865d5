"""What is read of a hospital's files, behind gates and budgets."""
