"""The services a payment passes, as real HTTP servers: apps, switch, banks, biller, SMS."""
