"""What only administrators do: move money, freeze accounts, publish prices."""
