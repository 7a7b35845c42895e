"""Money: payments, refunds, disputes, the ledger."""
