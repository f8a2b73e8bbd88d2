"""Stages that turn a model into a model: teacher training, distillation, pruning, quantisation-aware training."""
