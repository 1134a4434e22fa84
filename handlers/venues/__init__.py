"""Raw messages of venues, as they come in, to operations of the trading model.

Each module has one adapter, and each adapter one entry point: `operations(message)` returns the
operations of the fills, cash movements and amendments in a message, in the order of the message.
A message that moves nothing gives no operations. A message whose meaning is not known raises
`handlers.errors.VenueMessageError`, which keeps the message. No adapter imports a library of a
venue, asks a network, or changes a message.

| module | adapter | messages |
|---|---|---|
| `ccxt` | `Ccxt` | unified trades, streamed and fetched |
| `binance_spot` | `BinanceSpot` | user data stream, myTrades, deposit history |
| `binance_usdm` | `BinanceUsdm` | user data stream, userTrades, income |
| `kraken` | `Kraken` | executions channel, TradesHistory, Ledgers |
| `coinbase` | `Coinbase` | user channel, historical fills |
| `bybit` | `Bybit` | execution streams, execution list, transaction log |
| `okx` | `Okx` | orders channel, fills, bills |
| `interactive_brokers` | `InteractiveBrokers` | execDetails and commissionReport, joined |
| `alpaca` | `Alpaca` | trade updates, account activities |
| `fix44` | `Fix44` | execution reports of FIX 4.4 |

The same fill has the same identity in the stream and in the answer of a later request, so feeding
both books each fill once.
"""
