"""The Stripe-shaped provider: card payments as docs.stripe.com/api describes them, without Stripe."""
