"""What a checkpoint would have done on recordings, without moving anything: datasets and bags to `evaluate.openloop`."""
