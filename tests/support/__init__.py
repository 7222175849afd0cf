"""What tests share: made-up rows, stores, processes and worlds."""
