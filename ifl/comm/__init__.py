"""Communication between parties: messages, schema, codecs, wire format, channel and ledger."""
