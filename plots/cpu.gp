# Server CPU time of a request, with the interval of the median.
# Columns and use as in ladder.gp.
load here."common.gp"
set title heading
set xlabel "server CPU, us a request"
set xrange [0:*]
set yrange [rows - 0.4:-0.6]
set ytics scale 0
unset key
plot data using 8:0:9:10:ytic(1) \
         with xerrorbars linecolor rgb green linewidth 2 pointtype 7, \
     data using 8:0:(sprintf("%.2f", $8)) \
         with labels offset 0, 0.9 textcolor rgb ink
