"""What goes out and comes in: events, messages, stored responses, manual tasks."""
