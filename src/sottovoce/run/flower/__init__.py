"""Flower as a carrier of bytes between the server and the sites, and nothing else.

What it does: its SuperLink, a process of the server's own, keeps messages until the site they are
for has fetched them, and answers until the server has; it knows each site by a P-384 key, and both
ends reach it over TLS. What it does not do: no code travels. A stock SuperNode fetches the bundle
that the SuperLink offers and runs it with the rights of its user; here the site's end is ``door``,
which never asks for a bundle and hands bytes to the vault. Of the SuperLink's interfaces only those
that a site needs are open to the network, behind ``guard``.

All requests are idempotent, because the engine numbers and signs them. So whatever goes wrong, the
carrier asks again, and a message that comes twice does no harm.
"""
