"""Google and Facebook as identity providers, under `/idp/{provider}`."""
