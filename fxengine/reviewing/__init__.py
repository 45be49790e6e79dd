"""What a person says of a store's rows: labels, decisions on duplicates and wrong labels, and acting on them."""
