"""What every backend must do: one suite over all of them."""
