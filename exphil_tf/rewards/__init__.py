"""What frames are worth: rewards from one frame to the next, and discounted returns of them."""
