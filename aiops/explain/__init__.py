"""Words: tells people what is known, by templates always, by a language model where it can be checked."""
