"""The fast reactor by name, for what Twisted runs: `twist --reactor netecho`, `twistd`, `trial`."""

from twisted.application.reactors import Reactor

netecho = Reactor("netecho", "netecho.reactor", "epoll(7), at the speed that the system allows.")
