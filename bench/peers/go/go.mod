module ioladder/bench/peers/go

go 1.19
