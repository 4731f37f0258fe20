"""Messages between parties: schema, codecs, bytes on the wire, the channel and its ledger."""
