"""What every API family does: submit, follow, delete. Knows no family."""
