"""What pages share: frame, exports, the view of a job."""
