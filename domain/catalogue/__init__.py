"""What is for sale: plans, meters, policies and the price books of models, in versions."""
