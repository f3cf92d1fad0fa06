# Requests a second of each server, with the interval of the median.
#   gnuplot -e "data='ladder.dat'; term='svg'; out='ladder.svg'" ladder.gp
# Columns: name, then value, low, high of requests/s, p99, CPU us.
# plots/draw.py makes the data and calls this.
load here."common.gp"
set title heading
set xlabel "requests a second (thousands)"
set xrange [0:*]
set yrange [rows - 0.4:-0.6]
set ytics scale 0
unset key
plot data using ($2 / 1000):0:($3 / 1000):($4 / 1000):ytic(1) \
         with xerrorbars linecolor rgb blue linewidth 2 pointtype 7, \
     data using ($2 / 1000):0:(sprintf("%.1f", $2 / 1000)) \
         with labels offset 0, 0.9 textcolor rgb ink
