"""Published figures, trained and measured again by one command each."""
