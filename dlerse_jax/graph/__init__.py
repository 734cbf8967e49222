"""From friend pairs to attention graphs, samples of friends and neighbours' means."""
