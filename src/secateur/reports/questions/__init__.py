"""The ticket's questions, one file a question: from a study's frames and masks to sections of its page, where it has what they need."""
