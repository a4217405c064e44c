"""What stays: history, pictures, inputs, webhook deliveries."""
