"""Following a store from any process, without the lock: each durable event, once, in order."""

from eventstore.following.async_follower import Follower
from eventstore.following.entrance import follow, follow_sync
from eventstore.following.sync_follower import SyncFollower

__all__ = ["Follower", "SyncFollower", "follow", "follow_sync"]
