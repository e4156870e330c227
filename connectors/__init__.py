"""How the platform touches the outside: sources it reads, stores it writes. No business rules."""
