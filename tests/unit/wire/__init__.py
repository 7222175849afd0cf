"""What travels: messages, their texts and amounts, the transport."""
