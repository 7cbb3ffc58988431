"""The HTTPS endpoint that training pods talk to: it hands out signed addresses and takes reports."""
