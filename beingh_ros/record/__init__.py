"""The recorder: episodes of a robot's topics as bags, with marks, task, verdict and who is in charge. See docs/record.md."""
