"""What happens beside the training loop: files, reports, preemption."""
