"""The ledger: what each request and each attempt used and cost, from before a provider is asked."""
