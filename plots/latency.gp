# p50 and p99 against load, open loop: a block of the file for each server.
# Columns: load %, p50, low, high, p99, low, high; the name heads the block.
load here."common.gp"
set title heading
set xlabel "load, % of the lowest capacity"
set ylabel "p99, us"
set logscale y
set key outside right top
set offsets graph 0.06, graph 0.06, 0, 0
plot for [i = 0:rows - 1] data index i \
         using 1:5:6:7 with yerrorlines linewidth 1.5 pointtype i + 1 \
         linecolor rgb word(palette, i % words(palette) + 1) \
         title columnheader(1)
