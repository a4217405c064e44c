"""The Fooocus API family: generate, tasks, control, tools."""
