"""A chat in the browser with Django: answers stream, tools are seen, a reload keeps the conversation."""
